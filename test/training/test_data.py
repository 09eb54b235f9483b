"""Training data: an order that can be entered anywhere, images held out at the end."""

import pytest
from tiny import train_config, write_dataset

from synth_detect_ros.errors import DatasetError
from synth_detect_ros.training.data import ShuffledKeys, open_data, split


def test_order_is_a_permutation_each_epoch_and_can_be_entered_anywhere():
    whole = [key for key, _ in zip(ShuffledKeys(5, 0, 0), range(20), strict=False)]
    assert sorted(whole[:5]) == list(range(5))
    assert sorted(whole) == list(range(20))
    assert [k % 5 for k in whole[:5]] != [k % 5 for k in whole[5:10]]
    later = [key for key, _ in zip(ShuffledKeys(5, 0, 7), range(13), strict=False)]
    assert later == whole[7:]


def test_split_holds_out_the_end_and_leaves_something():
    assert split(10, 0.2) == (range(8), range(8, 10))
    with pytest.raises(DatasetError, match='too few'):
        split(1, 0.5 + 0.5)


def test_data_set_of_another_format_is_refused(tmp_path):
    write_dataset(tmp_path)
    open_data(train_config(tmp_path, ''))
    (tmp_path / 'dataset.yaml').write_text('format: 9\n')
    with pytest.raises(DatasetError, match='format 9, but this version of synth_detect_ros reads'):
        open_data(train_config(tmp_path, ''))
