"""Pores in computed tomography: networks over voxels, whole volumes in blocks, evaluation and analysis."""
