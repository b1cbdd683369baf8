"""How the expression network is trained, quantised, calibrated, measured and served."""
