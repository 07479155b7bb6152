"""Offline synthesis: plan → generate → write, and the data sets that read the result.

Names are imported from the submodules: ``generate``, ``dataset`` (:class:`SyntheticExpressionDataset`,
:class:`FacePackDataset`), ``mixing`` (:func:`concat`) and ``export``.
"""
