"""A 2D detector for your objects and your camera, without labelling one image.

The main path:

    dataset.backgrounds   frames and intrinsics kept from the live camera
    dataset.synthesize    CAD models rendered over them: images, boxes, masks, poses
    train                 a detector fitted behind a frozen, pre-trained feature extractor
    detect                detections and masks of new images
    nodes                 the same over ROS 2
"""

__version__ = '0.1.0'
