"""3D scans and their renderings, and the statistical face model behind the built-in source faces."""
