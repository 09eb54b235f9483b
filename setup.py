import re
from pathlib import Path

from setuptools import find_packages, setup

NAME = 'synth_detect_ros'
# Read, not imported: pip builds without the requirements.
VERSION = re.search(r"^__version__ = '(.+)'$", Path(NAME, '__init__.py').read_text(), re.M)[1]


def share(*patterns):
    """Map install folders to the files of this checkout, folders themselves left out."""
    files = sorted(p for pattern in patterns for p in Path().glob(pattern) if p.is_file())
    folders = sorted({p.parent for p in files})
    return [
        (f'share/{NAME}/{folder}', [str(p) for p in files if p.parent == folder])
        for folder in folders
    ]


setup(
    name=NAME,
    version=VERSION,
    description='A 2D detector for your objects and your camera, without labelling one image',
    author='The synth_detect_ros maintainers',
    maintainer='The synth_detect_ros maintainers',
    maintainer_email='no-address@maintainers.invalid',  # as in package.xml, which says why
    license='Apache-2.0',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed', 'rendering/shaders/*', 'report/templates/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *share('launch/*.launch.py', 'config/**/*', 'models/**/*'),
    ],
    python_requires='>=3.10',
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    zip_safe=False,  # shaders and templates are read by path
    entry_points={
        'console_scripts': [
            f'synth-detect = {NAME}.commands.main:main',
            f'synthesize_node = {NAME}.nodes.synthesize_node:main',
            f'detect_node = {NAME}.nodes.detect_node:main',
            f'camera_replay_node = {NAME}.nodes.camera_replay_node:main',
        ],
    },
)
