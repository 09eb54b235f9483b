"""Launch, parameter and RViz files against what the nodes really have.

Launch files are executed: by ROS 2's launch where it is installed, and by a stand-in everywhere.
"""

import importlib
import os
from pathlib import Path

import launch_stand_in
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
# Launch file: its arguments that are parameters, each with a value, and the parameters of that.
GIVEN = {
    'camera_replay': (
        {
            **{'source': '12', 'calibration': 'k.yaml', 'topic': '/t', 'rate_hz': '3'},
            **{'loop': 'true', 'compressed': 'true'},
        },
        {
            **{'source': '12', 'camera': 'k.yaml', 'topic': '/t', 'rate_hz': 3.0},
            **{'loop': True, 'compressed': True},
        },
    ),
    'detect': (
        {'model': '12', 'device': 'cpu', 'score_threshold': '0.3'},
        {'model': '12', 'device': 'cpu', 'score_threshold': 0.3},
    ),
    'synthesize': (
        {'out': '12', 'count': '7', 'render': 'true', 'synthesize': 's.yaml'},
        {'out': '12', 'count': 7, 'render': True, 'synthesize': 's.yaml'},
    ),
}
# What a parameter file says in these tests: no defaults, and other values than those above.
FILES = {
    'camera_replay': {
        **{'source': 'f', 'camera': 'f', 'topic': '/f', 'rate_hz': 4.0, 'loop': True},
        **{'compressed': True, 'frame_id': 'f'},
    },
    'detect': {'model': 'f', 'device': 'cuda', 'score_threshold': 0.9, 'threads': 3},
    'synthesize': {'out': 'f', 'count': 9, 'render': True, 'synthesize': 'f', 'format': 'jpg'},
}
EXECUTABLES = {name: f'{name}_node' for name in GIVEN}
PROFILES = sorted((ROOT / 'config' / 'cameras').glob('*.yaml'))
DEFAULTS = [ROOT / 'config' / f'{name}.yaml' for name in ('camera_replay', 'detect')]
each_file = pytest.mark.parametrize('name', GIVEN)


class StandIn:
    """Launch files run by the stand-in."""

    def __call__(self, name, **arguments):
        """Return what is started, by executable."""
        self.context = launch_stand_in.run(ROOT / 'launch' / f'{name}.launch.py', ROOT, arguments)
        return {node['executable']: node for node in self.context.nodes}


@pytest.fixture(params=['stand-in', 'launch'])
def launch(request, tmp_path, monkeypatch):
    """Return a function that runs a launch file and returns what it starts."""
    if request.param == 'stand-in':
        return StandIn()
    pytest.importorskip(
        'launch_ros',
        reason='launch_ros is not installed: source a ROS 2 (ros-$ROS_DISTRO-launch-ros); the '
        'stand-in runs the same tests without it',
    )
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path), prepend=os.pathsep)
    return importlib.import_module('launch_service').Launch(ROOT, tmp_path)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes the parameter file of a launch file's node."""

    def write(name):
        path = tmp_path / 'params.yaml'
        content = {f'/**/{EXECUTABLES[name]}': {'ros__parameters': FILES[name]}}
        path.write_text(yaml.safe_dump(content))
        return str(path)

    return write


@each_file
def test_parameter_file_counts_where_no_argument_is_given(launch, write, name):
    started = launch(name, params=write(name))
    assert started[EXECUTABLES[name]]['parameters'] == FILES[name]


@each_file
def test_argument_overrides_the_parameter_file(launch, write, name):
    arguments, values = GIVEN[name]
    for (argument, word), (parameter, value) in zip(
        arguments.items(), values.items(), strict=True
    ):
        started = launch(name, params=write(name), **{argument: word})
        expected = FILES[name] | {parameter: value}
        assert started[EXECUTABLES[name]]['parameters'] == expected


@pytest.mark.parametrize('sections', [('/**', '/**/detect_node'), ('/**/detect_node', '/**')])
def test_argument_overrides_every_section_of_a_parameter_file(launch, tmp_path, sections):
    path = tmp_path / 'params.yaml'
    values = {'score_threshold': 0.9, 'device': 'cpu'}
    path.write_text(''.join(f"'{s}': {{ros__parameters: {values}}}\n" for s in sections))
    started = launch('detect', params=str(path), score_threshold='0.3')
    assert started['detect_node']['parameters'] == values | {'score_threshold': 0.3}


@each_file
def test_node_has_the_parameters_that_are_set(launch, name):
    for arguments in ({}, GIVEN[name][0]):
        parameters = launch(name, **arguments)[EXECUTABLES[name]]['parameters']
        build(CONFIGS[EXECUTABLES[name]], parameters, name)


@each_file
def test_every_argument_of_a_launch_file_is_used(name):
    start = StandIn()
    start(name, **GIVEN[name][0])
    assert start.context.read == set(start.context.launch_configurations)


@each_file
def test_topics_are_remapped(launch, name):
    topics = {'image': '/a', 'camera_info': '/b'}
    if name == 'detect':
        del topics['camera_info']
    assert launch(name, **topics)[EXECUTABLES[name]]['remappings'] == topics


def test_rviz_starts_on_request_and_shows_the_image(launch):
    assert set(launch('detect')) == {'detect_node'}
    rviz = launch('detect', rviz='true', image='/a')['rviz2']
    assert rviz['remappings'] == {'/image': '/a'}
    assert Path(rviz['arguments'][1]).samefile(ROOT / 'config' / 'detect.rviz')


def test_threads_of_the_detector_sleep_while_they_wait(launch):
    assert launch('detect')['detect_node']['environment'] == {'GOMP_SPINCOUNT': '1000'}


def test_every_camera_profile_has_topics_and_a_file(launch):
    for path in PROFILES:
        started = launch('synthesize', camera=path.stem)['synthesize_node']
        content = yaml.safe_load(path.read_text())['/**/synthesize_node']
        assert started['parameters'] == content['ros__parameters']
        image, info = started['remappings'].values()
        assert image.rpartition('/')[0] == info.rpartition('/')[0]
    with pytest.raises(RuntimeError):
        launch('synthesize', camera='webcam')


@pytest.mark.parametrize('path', [*PROFILES, *DEFAULTS], ids=lambda p: p.name)
def test_parameter_file_holds_legal_options(path):
    for name, content in yaml.safe_load(path.read_text()).items():
        config = CONFIGS[name.removeprefix('/**/')]
        build(config, content['ros__parameters'], str(path))


@pytest.mark.parametrize('path', DEFAULTS, ids=lambda p: p.name)
def test_parameter_file_shows_every_default(path):
    node, content = next(iter(yaml.safe_load(path.read_text()).items()))
    config = CONFIGS[node.removeprefix('/**/')]
    required = {'model', 'source'}
    assert content['ros__parameters'] == {
        name: value for name, _, value in leaves(config()) if name not in required
    }
