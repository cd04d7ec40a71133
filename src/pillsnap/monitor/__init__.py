"""The operator's view of a run: reads files under artifacts/<scale>/, writes and runs nothing."""
