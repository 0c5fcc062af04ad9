"""From files to samples: radiographs, COCO data, GDXray, splits, augmentation and simulation."""
