"""What is wrong with a topic, and the likely cause that is told."""

import re

import pytest

from synth_detect_ros.nodes.camera.arrivals import Arrivals, Offer, all_reliable

KIND = 'sensor_msgs/msg/Image'
RELIABLE, BEST_EFFORT = Offer(KIND, True), Offer(KIND, False)
COMPRESSED = Offer('sensor_msgs/msg/CompressedImage', True)


def arrivals():
    return Arrivals('image', '/cam/image', KIND, 0.0)


@pytest.mark.parametrize(
    ('offers', 'reliable'),
    [
        ([], None),
        ([COMPRESSED], None),
        ([RELIABLE], True),
        ([RELIABLE, RELIABLE], True),
        ([RELIABLE, BEST_EFFORT], False),
        ([BEST_EFFORT], False),
        ([BEST_EFFORT, COMPRESSED], False),
    ],
)
def test_reliable_is_what_every_publisher_of_the_kind_offers(offers, reliable):
    assert all_reliable(offers, KIND) is reliable


def test_a_topic_is_well_as_long_as_messages_come():
    counted = arrivals()
    for second in range(60):
        assert counted.trouble([RELIABLE], True, second) == ''
        counted.came(second)


@pytest.mark.parametrize(
    ('offers', 'reliable', 'said'),
    [
        ([], False, 'no image on /cam/image: nobody publishes it. Is the camera running'),
        ([COMPRESSED], False, '1 publisher, but nothing arrives for 6 s: they are of type '
         'sensor_msgs/msg/CompressedImage, and sensor_msgs/msg/Image is read'),
        ([RELIABLE, BEST_EFFORT], True, '2 publishers, but .* Set reliability to auto'),
        ([RELIABLE], True, '1 publisher, .*: the publisher is silent, or a network between'),
        ([BEST_EFFORT], False, '1 publisher, .* or of each message a part is lost.*fastdds'),
        ([RELIABLE], False, 'this node is set to best effort.* Set reliability to auto'),
    ],
)  # fmt: skip
def test_silence_is_told_with_its_cause(offers, reliable, said):
    assert arrivals().trouble(offers, reliable, 5.0) == ''
    trouble = arrivals().trouble(offers, reliable, 6.0)
    assert re.search(said, trouble), trouble


@pytest.mark.parametrize(
    ('offers', 'reliable', 'said'),
    [
        ([BEST_EFFORT], False, 'best effort a message that misses a packet is lost. Set the driv'),
        ([RELIABLE], False, 'Set reliability to auto'),
        ([RELIABLE], True, 'they come faster than this computer'),
    ],
)
def test_losses_of_more_than_a_twentieth_are_told_with_their_cause(offers, reliable, said):
    counted, told = arrivals(), []
    for tick in range(200):
        counted.missed(1) if tick % 4 == 0 else counted.came(tick / 10)
        if tick % 10 == 9:
            told.append(counted.trouble(offers, reliable, tick / 10))
    assert told[-1].startswith('25 of 100 messages on /cam/image were lost in 10 s: ')
    assert said in told[-1]
    assert counted.lost == 50


def test_few_losses_are_counted_only_and_old_ones_are_over():
    counted = arrivals()
    for tick in range(1000):
        counted.missed(1) if tick % 50 == 0 else counted.came(tick / 10)
        if tick % 10 == 9:
            assert counted.trouble([BEST_EFFORT], False, tick / 10) == ''
    counted.missed(50)
    assert counted.trouble([BEST_EFFORT], False, 100.0)
    for second in range(101, 112):
        counted.came(second)
        trouble = counted.trouble([BEST_EFFORT], False, second)
    assert trouble == '' and counted.lost == 70


def test_one_lost_message_of_a_slow_camera_is_no_trouble():
    counted = arrivals()
    counted.came(1.0)
    counted.missed(1)
    assert counted.trouble([RELIABLE], True, 2.0) == ''
    counted.missed(1)
    assert counted.trouble([RELIABLE], True, 3.0)
