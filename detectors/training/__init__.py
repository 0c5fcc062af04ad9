"""One plain training loop; each task (detection, patches, segmentation, GAN) is a small file."""
