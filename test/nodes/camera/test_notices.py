"""Faults of messages: each counts, one of a kind is said."""

import threading

from synth_detect_ros.nodes.camera.notices import Notices, States


def test_without_faults_there_is_nothing_to_say():
    said = []
    notices = Notices(said.append, 'Image skipped')
    assert (notices.total, notices.summary(), said) == (0, '', [])


def test_a_kind_is_said_once_whatever_its_values_are():
    said = []
    notices = Notices(said.append, 'Image skipped')
    for text in (
        "encoding 'jpeg9' is not known",
        "encoding 'RGB8' is not known",
        'incomplete image: 100 of 57600 bytes came',
        'incomplete image: 2e3 of 57600 bytes came',
        'K is [nan, inf, -1.5]',
        'K is [-150.0, nan, inf]',
    ):
        notices.add(text)
    assert said == [
        "Image skipped: encoding 'jpeg9' is not known (said once)",
        'Image skipped: incomplete image: 100 of 57600 bytes came (said once)',
        'Image skipped: K is [nan, inf, -1.5] (said once)',
    ]
    assert notices.total == 6
    assert notices.summary().startswith('Image skipped: 6, 2 times: encoding')


def test_faults_without_end_and_without_order_are_bounded():
    said = []
    notices = Notices(said.append, 'Image skipped')
    for i in range(1000):
        notices.add('x' * (1 + i % 100) + ' ' + 'y' * 10_000)
    assert notices.total == 1000
    assert len(said) == 21 and 'counted only' in said[-1]
    assert max(map(len, said)) < 700
    assert len(notices.summary()) < 21 * 700


def test_threads_count_together():
    said = []
    notices = Notices(said.append, 'Image skipped')
    threads = [
        threading.Thread(target=lambda: [notices.add('no data') for _ in range(500)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notices.total == 2000 and len(said) == 1


def test_a_state_is_said_when_it_begins_and_when_it_is_over():
    said, over = [], []
    states = States(said.append, over.append)
    for second, trouble in enumerate(('', 'silent for 5 s', 'silent for 6 s', 'lost 7', '', '')):
        states.tell(trouble, f'well at {second}', second)
    assert said == ['silent for 5 s', 'lost 7']
    assert over == ['well at 4']


def test_a_state_that_flickers_is_said_once_a_minute():
    said, over = [], []
    states = States(said.append, over.append)
    for second in range(121):
        states.tell(f'lost {second}' if second % 2 == 0 else '', 'well', second)
    assert said == ['lost 0', 'lost 60', 'lost 120']
    assert over == ['well', 'well']
