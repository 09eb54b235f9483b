"""Each two-stage detector learns eight images by heart, and its bundle finds what is in them."""

import pytest
from tiny import CLASSES, train_config, write_dataset

from synth_detect_ros.config import EvaluateConfig
from synth_detect_ros.evaluation.evaluate import evaluate
from synth_detect_ros.training.train import train

STILL = {'flip': False, 'brightness': 0, 'contrast': 0, 'saturation': 0, 'hue': 0}
# A network of a thousandth of the work of a MobileNet, which sees colours.
NET = """
from torch import nn

class Net(nn.Module):
    out_channels, stride = (32, 32), (8, 16)

    def __init__(self):
        super().__init__()
        self.near = nn.Sequential(nn.Conv2d(3, 32, 8, 8), nn.GroupNorm(4, 32), nn.ReLU())
        self.far = nn.Sequential(nn.Conv2d(32, 32, 3, 2, 1), nn.GroupNorm(4, 32), nn.ReLU())

    def forward(self, x):
        near = self.near(x)
        return near, self.far(near)
"""
SMALL = {'box_head': {'channels': 64}, 'channels': 32}
NETWORKS = {
    'faster_rcnn': SMALL,
    'mask_rcnn': SMALL,
    # Objects are two cells wide at stride 16: too coarse for nine bins.
    'rfcn': {**SMALL, 'neck': 'c4', 'c4_stride': 8, 'rpn': {'anchor_octaves': [1.0, 2.0]}},
    'dense': {'channels': 32, 'convs': 1, 'masks': True},
}


@pytest.mark.slow
@pytest.mark.parametrize('architecture', NETWORKS)
def test_detector_learns_eight_images(architecture, tmp_path):
    dataset = write_dataset(tmp_path / 'set')
    (tmp_path / 'small_net.py').write_text(NET)
    network = {'architecture': architecture, 'extractor': f'{tmp_path}/small_net.py:Net'}
    config = train_config(
        dataset,
        tmp_path / 'run',
        steps=300
        if architecture == 'rfcn'
        else 150,  # its crops cost nothing, its votes learn slowly
        batch=8,
        val_share=0.0,
        augment=STILL,
        amp=False,  # the same on processors with and without bfloat16
        optimizer={'lr': 0.05, 'warmup_steps': 20},
        detector={**network, **NETWORKS[architecture]},
    )
    images, annotations = str(dataset / 'images'), str(dataset / 'annotations.json')
    test = EvaluateConfig(
        model=str(train(config)),
        trust_code=str(tmp_path / 'small_net.py'),
        images=images,
        annotations=annotations,
        device='cpu',
        runtime='torch',
    )
    metrics = evaluate(test)
    assert metrics['bbox']['AP50'] >= 0.9
    assert set(metrics['bbox']['per_class']) == set(CLASSES)
    if config.detector.has_masks:
        assert metrics['segm']['AP50'] >= 0.9
