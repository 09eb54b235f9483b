"""What the live detector publishes, beside what RViz is configured to show."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import rclpy
import yaml
from rclpy.lifecycle import LifecycleNode

from synth_detect_ros.nodes.outputs import Outputs

pytestmark = pytest.mark.ros
RVIZ = Path(__file__).parents[2] / 'config' / 'detect.rviz'


def test_rviz_shows_the_image_and_what_the_node_publishes():
    content = yaml.safe_load(RVIZ.read_text())
    displays = content['Visualization Manager']['Displays']
    assert [d['Class'] for d in displays] == ['rviz_default_plugins/Image'] * 3
    topics = [d['Topic']['Value'] for d in displays]
    context = rclpy.Context()
    rclpy.init(context=context)
    node = LifecycleNode('detect_node', context=context)
    Outputs(node, SimpleNamespace(has_masks=True), publish_json=False)
    published = {publisher.topic_name for publisher in node.publishers}
    node.destroy_node()
    context.try_shutdown()
    assert topics[0] == '/image'
    assert {'/detect_node/overlay', '/detect_node/masks'} == set(topics[1:]) <= published
