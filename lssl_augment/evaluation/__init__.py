"""Did it help? Classifiers, metrics and the comparison of ways to train on few faces."""
