"""The command line as far as it is its own: parsing, help, status, messages."""

import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from synth_detect_ros.commands import doctor
from synth_detect_ros.commands import main as cli
from synth_detect_ros.commands.progress import progress_bar
from synth_detect_ros.config import TrainConfig
from synth_detect_ros.config.options import leaves, read_config
from synth_detect_ros.errors import DatasetError, StorageError

ROOT = Path(__file__).parents[2]
CONFIGURED = ['synthesize', 'train', 'evaluate', 'detect', 'export', 'export-model']
COMMANDS = [*CONFIGURED, 'model-box', 'show', 'experiment', 'doctor']


def text_of(capsys, *argv):
    with pytest.raises(SystemExit) as stop:
        cli.main(list(argv))
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_help_names_every_command(capsys):
    words = text_of(capsys, '--help').split()
    assert set(COMMANDS) <= set(words)


@pytest.mark.parametrize('command', COMMANDS)
def test_every_command_explains_itself(capsys, command):
    assert 'usage: synth-detect ' + command in text_of(capsys, command, '--help')


def test_help_shows_texts_units_and_defaults_of_the_configuration(capsys):
    text = ' '.join(text_of(capsys, 'train', '--help').split())
    for name, rule, default in leaves(TrainConfig()):
        if '.' in name:
            continue
        assert f'--{name.replace("_", "-")}' in text
        assert rule.help in text
        assert default in ('', None) or f'(default: {default})' in text


def test_help_imports_nothing_heavy():
    code = (
        'import sys; from synth_detect_ros.commands.main import main\n'
        'try: main(["train", "--help"])\n'
        'except SystemExit: pass\n'
        'heavy = {"torch", "numpy", "cv2", "pycocotools", "tqdm"} & set(sys.modules)\n'
        'assert not heavy, heavy'
    )
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_the_module_runs_as_a_program():
    command = [sys.executable, '-m', 'synth_detect_ros.commands.main', 'train', '--steps', '0']
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr.startswith('synth-detect: error: options')
    assert 'steps: 0 is out of bounds' in result.stderr
    assert result.stderr.count('\n') == 1


@pytest.mark.parametrize(
    'argv',
    [[], ['fly'], ['train', '--steps', 'many'], ['show', 'x', '--count', '0'], ['train', '--x']],
)
def test_wrong_usage_is_status_2(capsys, argv):
    with pytest.raises(SystemExit) as stop:
        cli.main(argv)
    assert stop.value.code == 2
    assert 'usage: synth-detect' in capsys.readouterr().err


def printed_config(capsys, *argv):
    assert cli.main([*argv, '--print-config']) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize('command', CONFIGURED)
def test_printed_configuration_reads_back_as_it_is(capsys, tmp_path, command):
    text = printed_config(capsys, command)
    (tmp_path / 'c.yaml').write_text(text)
    assert printed_config(capsys, command, '--config', str(tmp_path / 'c.yaml')) == text


def test_flags_win_over_set_and_set_wins_over_the_file(capsys, tmp_path):
    path = tmp_path / 'c.yaml'
    path.write_text('steps: 1\nbatch: 1\nseed: 1\namp: true\n')
    sets = ['--set', 'batch=2', '--set', 'seed=2', '--set', 'detector.extractor=resnet50']
    text = printed_config(
        capsys, 'train', '--config', str(path), *sets, '--seed', '3', '--no-amp', '--freeze=none'
    )
    for line in ('steps: 1', 'batch: 2', 'seed: 3', 'amp: false', 'freeze: none'):
        assert f'\n{line}  #' in text
    assert '  extractor: resnet50  #' in text


def test_paths_of_flags_are_relative_to_the_working_directory(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert f'\nout: {tmp_path}/run  #' in printed_config(capsys, 'train', '--out', 'run')


@pytest.mark.parametrize('value', ['a: b', '#3', "it's", '"', 'null', '12'])
def test_text_of_a_flag_arrives_unchanged(capsys, tmp_path, value):
    (tmp_path / 'c.yaml').write_text(printed_config(capsys, 'train', '--out', f'/{value}'))
    again = printed_config(capsys, 'train', '--config', str(tmp_path / 'c.yaml'))
    assert read_config(TrainConfig, tmp_path / 'c.yaml').out == f'/{value}'
    assert f'/{value}' in again.replace("''", "'").replace('\\"', '"')


def run_raising(monkeypatch, error, *argv):
    def run(args):
        logging.getLogger('synth_detect_ros.training.train').info('a line of the log')
        raise error

    monkeypatch.setattr(doctor, 'run', run)
    return cli.main(['doctor', *argv])


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (DatasetError('a\n  b'), 'a b'),
        (StorageError(28, '/x cannot be written'), '/x cannot be written'),
        (PermissionError(13, 'Permission denied', '/x'), '/x: Permission denied'),
    ],
)
def test_errors_are_one_line_and_status_1(capsys, monkeypatch, error, line):
    assert run_raising(monkeypatch, error) == 1
    assert capsys.readouterr().err == f'a line of the log\nsynth-detect: error: {line}\n'


def test_interruption_is_status_130(capsys, monkeypatch):
    assert run_raising(monkeypatch, KeyboardInterrupt()) == 130
    assert 'interrupted; the same command starts again' in capsys.readouterr().err


@pytest.mark.parametrize('command', ['synthesize', 'train', 'experiment'])
def test_commands_that_go_on_say_so(capsys, monkeypatch, command):
    def stop(args):
        raise KeyboardInterrupt

    verb = next(verb for verb in cli.VERBS if verb.__name__.endswith(command))
    monkeypatch.setattr(verb, 'run', stop)
    assert cli.main([command, *(['grid'] if command == 'experiment' else [])]) == 130
    assert 'interrupted; the same command continues' in capsys.readouterr().err


def test_debug_shows_where_an_error_comes_from(monkeypatch):
    with pytest.raises(DatasetError):
        run_raising(monkeypatch, DatasetError('x'), '--debug')


def test_a_mistake_of_ours_is_not_hidden(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        run_raising(monkeypatch, ZeroDivisionError())


def test_logging_is_left_as_it_was(monkeypatch):
    logger = logging.getLogger('synth_detect_ros')
    before = logger.level, list(logger.handlers)
    run_raising(monkeypatch, DatasetError('x'))
    assert (logger.level, logger.handlers) == before


def test_progress_bar_counts_and_follows_the_total(capsys):
    with progress_bar('step') as advance:
        advance(5, 10, 'loss 1.0')
        advance(6, 12, 'loss 0.5')
    line = capsys.readouterr().err.split('\r')[-1]
    assert '6/12' in line and 'loss 0.5' in line


def test_one_image_takes_as_long_as_it_took(capsys, monkeypatch):
    with progress_bar('image') as advance:
        time.sleep(0.3)
        advance(1, 1)
    rate = float(re.findall(r'([0-9.]+)image/s', capsys.readouterr().err)[-1])
    assert rate < 1 / 0.3
    with progress_bar('image', rate=False) as advance:
        advance(3, 4, '2.0 images/s')
    assert 'image/s,' not in capsys.readouterr().err  # one rate, not two


def test_what_is_needed_says_so_in_help(capsys):
    for verb, words in (('train', ['needed, or --synthesize: ', 'needed: folder of the run']),
                        ('detect', ['needed: bundle', 'needed: folder of overlays'])):  # fmt: skip
        with pytest.raises(SystemExit):
            cli.main([verb, '--help'])
        text = ' '.join(capsys.readouterr().out.split())
        assert all(word in text for word in words)


def test_no_progress_no_bar(capsys):
    with progress_bar('step'):
        pass
    assert capsys.readouterr().err == ''
