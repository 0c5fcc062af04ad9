"""Computed tomography volumes: files, gray levels, patches, pores, and simulated scans."""
