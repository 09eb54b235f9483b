"""Launch, parameter and RViz files against what the nodes really have; needs no launch."""

import ast
from pathlib import Path

import pytest
import yaml

from synth_detect_ros.config import CaptureConfig, DetectConfig, ReplayConfig
from synth_detect_ros.config.options import build, leaves

ROOT = Path(__file__).parents[2]
CONFIGS = {
    'synthesize_node': CaptureConfig,
    'detect_node': DetectConfig,
    'camera_replay_node': ReplayConfig,
}
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
PROFILES = sorted((ROOT / 'config' / 'cameras').glob('*.yaml'))


def calls(tree, name):
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == name
    ]


def keyword(call, name):
    return next(k.value for k in call.keywords if k.arg == name)


def own_nodes(tree):
    """Return executable and call of each node of this package."""
    found = {keyword(c, 'executable').value: c for c in calls(tree, 'Node')}
    return {name: call for name, call in found.items() if name != 'rviz2'}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_file_starts_a_node_with_parameters_it_has(path):
    tree = ast.parse(path.read_text())
    assert len(own_nodes(tree)) == 1
    for executable, call in own_nodes(tree).items():
        options = {name for name, _, _ in leaves(CONFIGS[executable]())}
        groups = [n for n in ast.walk(keyword(call, 'parameters')) if isinstance(n, ast.Dict)]
        assert {key.value for group in groups for key in group.keys} <= options
        source = (ROOT / 'synth_detect_ros' / 'nodes' / f'{executable}.py').read_text()
        for remapping in keyword(call, 'remappings').elts:
            assert f"'{remapping.elts[0].value}'" in source


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda p: p.name)
def test_launch_file_declares_what_it_uses(path):
    tree = ast.parse(path.read_text())
    declared = {c.args[0].value for c in calls(tree, 'DeclareLaunchArgument')}
    used = {c.args[0].value for c in calls(tree, 'LaunchConfiguration')}
    assert declared == used


@pytest.mark.parametrize(
    'path', [*PROFILES, ROOT / 'config' / 'detect.yaml'], ids=lambda p: p.name
)
def test_parameter_file_holds_legal_options(path):
    for name, content in yaml.safe_load(path.read_text()).items():
        config = CONFIGS[name.removeprefix('/**/')]
        build(config, content['ros__parameters'], str(path))


def test_detect_yaml_shows_every_default():
    content = yaml.safe_load((ROOT / 'config' / 'detect.yaml').read_text())
    shown = content['/**/detect_node']['ros__parameters']
    assert shown == {name: v for name, _, v in leaves(DetectConfig()) if name != 'model'}


def test_every_profile_of_synthesize_has_its_topics_and_its_file():
    tree = ast.parse((ROOT / 'launch' / 'synthesize.launch.py').read_text())
    tables = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign)
    }
    files = {path.stem for path in PROFILES}
    assert set(tables['IMAGE']) == set(tables['CAMERA_INFO']) == files


def test_rviz_shows_the_topics_of_the_node():
    content = yaml.safe_load((ROOT / 'config' / 'detect.rviz').read_text())
    displays = content['Visualization Manager']['Displays']
    assert [d['Class'] for d in displays] == ['rviz_default_plugins/Image'] * 3
    topics = [d['Topic']['Value'] for d in displays]
    assert topics == ['/image', '/detect_node/overlay', '/detect_node/masks']
    source = (ROOT / 'synth_detect_ros' / 'nodes' / 'outputs.py').read_text()
    for topic in topics[1:]:
        assert f"'{topic.rpartition('/')[2]}'" in source
