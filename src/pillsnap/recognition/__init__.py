"""Detector, classifier and calibration as one: photo in, classified or refused pills out."""
