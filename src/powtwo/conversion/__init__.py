"""What a scheme may ask for; the calibrated network and its file; from it to integers."""
