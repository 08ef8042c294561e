"""What is done to coefficients before rendering and to frames after it."""
