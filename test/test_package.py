"""What ament_python, colcon, rosdep and pip are told about this package."""

import ast
import inspect
import re
import runpy
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from configparser import ConfigParser
from pathlib import Path

import pytest
import scenes
import setuptools
import tiny

import synth_detect_ros
from synth_detect_ros.config.options import to_yaml

ROOT = Path(__file__).parents[1]
PACKAGE_XML = ElementTree.parse(ROOT / 'package.xml').getroot()

# What each import needs, under its rosdep key; None: rosdep has none, requirements.txt names it.
ROSDEP_KEYS = {
    'cv2': 'python3-opencv',
    'jinja2': 'python3-jinja2',
    'matplotlib': 'python3-matplotlib',
    'numpy': 'python3-numpy',
    'pyrender': 'python3-pyrender-pip',
    'scipy': 'python3-scipy',
    'torch': 'python3-torch',
    'torchvision': 'python3-torchvision',
    'tqdm': 'python3-tqdm',
    'trimesh': 'python3-trimesh-pip',
    'yaml': 'python3-yaml',
    'OpenGL': None,
    'collada': None,
    'pycocotools': None,
    'rosbags': None,
    'backports': None,
    'compression': None,  # of Python 3.14
    'lz4': None,
    'safetensors': None,
    'tensorboard': None,
    'timm': None,
    'onnx': None,
    'onnxruntime': None,
    'lxml': None,
    'moderngl': None,
    'PIL': None,
    'pydantic': None,
    'pydantic_core': None,
}


@pytest.fixture(scope='module')
def setup_arguments() -> dict:
    """Return what setup.py hands to setuptools."""
    calls = []
    source = (ROOT / 'setup.py').read_text()
    original, setuptools.setup = setuptools.setup, lambda **keywords: calls.append(keywords)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(ROOT)
            exec(compile(source, 'setup.py', 'exec'), {'__name__': '__main__'})
    finally:
        setuptools.setup = original
    return calls[0]


def _third_party_imports() -> set[str]:
    names = set()
    for folder in ('synth_detect_ros', 'launch'):
        for path in (ROOT / folder).rglob('*.py'):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names |= {alias.name.split('.')[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom):
                    names.add(str(node.module).split('.')[0])
    return names - set(sys.stdlib_module_names) - {'synth_detect_ros'}


def _texts(tag: str) -> list[str]:
    return [element.text or '' for element in PACKAGE_XML.iter(tag)]


def test_package_xml_has_what_format_3_asks_for() -> None:
    assert PACKAGE_XML.tag == 'package' and PACKAGE_XML.get('format') == '3'
    for tag in ('name', 'version', 'description', 'maintainer', 'license'):
        assert all(text.strip() for text in _texts(tag)) and _texts(tag), tag
    assert _texts('name') == ['synth_detect_ros']
    assert re.fullmatch(r'\d+\.\d+\.\d+', _texts('version')[0])
    assert _texts('build_type') == ['ament_python']


def test_package_xml_passes_xmllint() -> None:
    if not shutil.which('xmllint'):
        pytest.skip('xmllint is not installed (Debian: libxml2-utils)')
    subprocess.run(['xmllint', '--noout', ROOT / 'package.xml'], check=True)


def test_maintainer_email_is_one_that_colcon_accepts() -> None:
    # colcon drops to a plain Python package, without a word, when it is not.
    email = PACKAGE_XML.find('maintainer').get('email')
    assert re.fullmatch(r'[-\w%+.]+@[-a-zA-Z0-9%]+(\.[-a-zA-Z0-9%]+)*\.[a-zA-Z]{2,}', email)


def test_maintainer_email_does_not_pretend() -> None:
    # Domains of examples (RFC 2606) look like an address; .invalid says that there is none.
    email = PACKAGE_XML.find('maintainer').get('email')
    assert not re.search(r'\bexample\b|\.test$|\.local$|localhost', email)


def test_there_is_one_version(setup_arguments: dict) -> None:
    version = synth_detect_ros.__version__
    assert setup_arguments['version'] == version
    assert _texts('version') == [version]
    changelog = (ROOT / 'CHANGELOG.md').read_text()
    assert re.findall(r'^## \[(\d[^]]*)\] - \d{4}-\d{2}-\d{2}$', changelog, re.M)[0] == version


def test_public_names_resolve() -> None:
    for name in synth_detect_ros.__all__:
        assert getattr(synth_detect_ros, name).__name__ == name
        assert inspect.getdoc(getattr(synth_detect_ros, name))
    assert set(synth_detect_ros.__all__) <= set(dir(synth_detect_ros))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(AttributeError, match='no attribute'):
        synth_detect_ros.nonsense  # noqa: B018


def test_type_checkers_see_the_public_names() -> None:
    source = (ROOT / 'synth_detect_ros' / '__init__.py').read_text()
    (block,) = (node for node in ast.parse(source).body if isinstance(node, ast.If))
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    homes = {
        name: f'synth_detect_ros.{module}'
        for module, names in synth_detect_ros._PUBLIC.items()
        for name in names
    }
    assert seen == homes


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (example,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.S)
    config = scenes.config(tmp_path, count=8)
    (tmp_path / 'objects.yaml').write_text(Path(config.objects).read_text())
    (tmp_path / 'synthesize.yaml').write_text(to_yaml(config.replace(out='')))
    training = tiny.train_config('', '', steps=2, detector={'min_side': 120})
    (tmp_path / 'train.yaml').write_text(to_yaml(training))
    (tmp_path / 'example.py').write_text(example)
    monkeypatch.chdir(tmp_path)
    runpy.run_path('example.py', run_name='__main__')
    assert (tmp_path / 'run' / 'bundle' / 'model.yaml').is_file()
    assert '3 frames' in capsys.readouterr().out


def test_setup_py_and_package_xml_agree(setup_arguments: dict) -> None:
    maintainer = PACKAGE_XML.find('maintainer')
    assert setup_arguments['maintainer'] == maintainer.text
    assert setup_arguments['maintainer_email'] == maintainer.get('email')
    assert setup_arguments['license'] == _texts('license')[0]


def test_every_dependency_is_declared() -> None:
    declared = set(_texts('exec_depend'))
    for name in _third_party_imports():
        key = ROSDEP_KEYS.get(name, name)
        assert key is None or key in declared, f'{name}: package.xml lacks {key}'


def test_installed_files_exist_and_are_complete(setup_arguments: dict) -> None:
    installed = [Path(f) for _, files in setup_arguments['data_files'] for f in files]
    assert len(installed) == len(set(installed))
    assert all((ROOT / path).is_file() for path in installed)
    for folder in ('config', 'launch', 'models'):
        wanted = {
            p.relative_to(ROOT)
            for p in (ROOT / folder).rglob('*')
            if p.is_file() and '__pycache__' not in p.parts
        }
        assert wanted and wanted <= set(installed), f'{folder}/ is not installed completely'


def test_package_data_holds_every_file_that_is_not_python(setup_arguments: dict) -> None:
    package = ROOT / 'synth_detect_ros'
    patterns = setup_arguments['package_data']['synth_detect_ros']
    matched = {path for pattern in patterns for path in package.glob(pattern)}
    files = {p for p in package.rglob('*') if p.is_file() and '__pycache__' not in p.parts}
    assert {p for p in files if p.suffix != '.py'} <= matched


def test_entry_points_lead_to_functions(setup_arguments: dict) -> None:
    for script in setup_arguments['entry_points']['console_scripts']:
        name, module, function = re.fullmatch(r'(\S+) = (\S+):(\S+)', script).groups()
        source = (ROOT / Path(*module.split('.'))).with_suffix('.py').read_text()
        functions = {n.name for n in ast.parse(source).body if isinstance(n, ast.FunctionDef)}
        assert function in functions, f'{name}: no {function} in {module}'


def test_executables_land_where_ros2_run_looks() -> None:
    config = ConfigParser()
    config.read(ROOT / 'setup.cfg')
    folder = '$base/lib/synth_detect_ros'
    assert config['develop']['script_dir'] == config['install']['install_scripts'] == folder
    assert config['build_scripts']['executable'] == '/usr/bin/env python3'


def test_pyproject_has_tool_tables_only() -> None:
    # A [project] table makes colcon finish with no script installed.
    tables = re.findall(r'^\[+(\w+)', (ROOT / 'pyproject.toml').read_text(), re.M)
    assert set(tables) == {'tool'}
