import sys
from collections import namedtuple

import pytest

from synth_detect_ros.commands import doctor
from synth_detect_ros.commands import main as cli
from synth_detect_ros.commands.doctor import Finding

Usage = namedtuple('Usage', 'total used free')


def test_a_finding_is_one_line_that_begins_with_its_weight():
    assert str(Finding('x', True, 'there')).split() == ['ok', 'x:', 'there']
    assert str(Finding('x', False, 'gone')).split()[0] == 'MISSING'
    assert str(Finding('x', False, 'gone', needed=False)).split()[0] == 'note'


@pytest.mark.parametrize(('good', 'needed', 'status'), [(1, 1, 0), (0, 0, 0), (0, 1, 1)])
def test_only_what_is_needed_makes_the_command_fail(monkeypatch, capsys, good, needed, status):
    findings = [Finding('x', bool(good), 'text', bool(needed)), Finding('y', True, 'text')]
    monkeypatch.setattr(doctor, 'examine', lambda: iter(findings))
    assert cli.main(['doctor']) == status
    assert capsys.readouterr().out.splitlines() == [str(f) for f in findings]


@pytest.mark.parametrize(
    ('code', 'result'),
    [
        ('print("a"); print("b")', (True, 'b')),
        ('', (True, 'no message')),
        ('raise ImportError("no libEGL")', (False, 'ImportError: no libEGL')),
        ('import os; os.kill(os.getpid(), 11)', (False, 'crashed with signal 11')),
    ],
)
def test_a_probe_survives_whatever_happens_to_its_child(code, result):
    assert doctor._run(code) == result


def test_a_probe_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(doctor, 'PROBE_TIMEOUT_S', 0.2)
    assert doctor._run('import time; time.sleep(60)') == (False, 'no answer within 0.2 s')


def test_an_old_python_is_named(monkeypatch):
    assert doctor.python().good
    monkeypatch.setattr(doctor, 'OLDEST_PYTHON', (99, 0))
    finding = doctor.python()
    assert not finding.good and 'Use Python 99.0 or later' in finding.text


@pytest.mark.parametrize(
    ('line', 'advice'),
    [
        ("ModuleNotFoundError: No module named 'trimesh'", 'pip install -r requirements.txt'),
        ('synth_detect_ros.errors.RenderingError: install EGL', 'look again'),
        ('crashed with signal 11', 'Update the graphics driver'),
    ],
)
def test_failed_rendering_says_what_to_install(monkeypatch, line, advice):
    monkeypatch.setattr(doctor, '_run', lambda code: (False, line))
    finding = doctor.rendering()
    assert not finding.good and finding.needed
    assert line in finding.text and advice in finding.text


def test_the_rendering_probe_renders_here():
    pytest.importorskip('moderngl')
    finding = doctor.rendering()
    assert finding.good, finding


def test_the_rendering_probe_says_what_is_missing(monkeypatch):
    monkeypatch.setenv('EGL_DEVICE_ID', '99')
    finding = doctor.rendering()
    assert not finding.good and 'apt-get install libegl1' in finding.text


def test_broken_torch_is_named(monkeypatch):
    monkeypatch.setattr(doctor, '_run', lambda code: (False, 'operator nms does not exist'))
    finding = doctor.torch()
    assert finding.needed and not finding.good
    assert 'nms does not exist. Install matching versions' in finding.text


def test_missing_ros_leaves_the_rest_usable(monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, 'find_spec', lambda name: None)
    finding = doctor.ros()
    assert not finding.good and not finding.needed
    assert 'everything else can' in finding.text


def test_a_missing_ros_package_says_what_happens_without(monkeypatch):
    monkeypatch.setenv('ROS_DISTRO', 'jazzy')
    finding = doctor.ros_package('vision_msgs_not_there', 'nothing happens')
    assert 'nothing happens' in finding.text
    assert 'ros-jazzy-vision-msgs-not-there' in finding.text
    assert doctor.ros_package('json', '').good


@pytest.mark.parametrize(('free', 'good'), [(1 << 40, True), (64 << 20, False)])
def test_small_shared_memory_and_small_disks_are_noticed(monkeypatch, tmp_path, free, good):
    monkeypatch.setattr(doctor.shutil, 'disk_usage', lambda folder: Usage(0, 0, free))
    for finding in (doctor.shared_memory(tmp_path), doctor.disk(tmp_path)):
        assert finding.good == good
        assert not finding.needed
    assert ('--shm-size' in doctor.shared_memory(tmp_path).text) != good


def test_no_shared_memory_is_fine(tmp_path):
    assert doctor.shared_memory(tmp_path / 'gone').good


def test_examination_begins_with_the_interpreter(monkeypatch):
    monkeypatch.setattr(doctor, '_run', lambda code: (False, 'nothing works'))
    findings = list(doctor.examine())
    assert sys.executable in findings[0].text
    assert [f.name for f in findings if f.needed and not f.good] == ['PyTorch', 'rendering']
