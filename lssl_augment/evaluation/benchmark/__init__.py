"""What ``lssl-augment benchmark`` runs: folds, arms, cells, results; :mod:`.runner` puts them together."""
