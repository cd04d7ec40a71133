"""The detector: a YOLO of Ultralytics with one class, "pill". Only this room imports it."""
