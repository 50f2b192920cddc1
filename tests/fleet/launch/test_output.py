from __future__ import annotations

from supervisor.fleet.launch.output import LONGEST_LINE, Output


async def lines_of(output: Output, *pieces: bytes) -> list[str]:
    for piece in pieces:
        output.data_received(piece)
    output.connection_lost(None)
    return [line async for line in output.lines()]


async def test_lines_are_put_together_from_what_arrives():
    assert await lines_of(Output(), b"one\ntw", b"o\n\nthr", b"ee") == ["one", "two", "", "three"]


async def test_a_character_may_arrive_in_two_pieces_and_a_broken_one_is_replaced():
    assert await lines_of(Output(), "ü".encode()[:1], "ü".encode()[1:] + b"\n\xff\n\xc3") == ["ü", "�", "�"]


async def test_the_newline_of_a_terminal_is_taken_off_whole():
    assert await lines_of(Output(), b"one\r\ntwo\r\n") == ["one", "two"]


async def test_a_long_line_is_split_while_it_still_arrives():
    output = Output()
    output.data_received(b"x" * (2 * LONGEST_LINE + 1))
    assert [len(line) for line in output.last(9)] == [LONGEST_LINE, LONGEST_LINE]
    assert [len(line) for line in await lines_of(output, b"y\n")] == [LONGEST_LINE, LONGEST_LINE, 2]


async def test_the_oldest_lines_are_dropped_when_nobody_takes_them_and_the_number_is_told():
    output = Output(waiting_lines=2)
    lines = await lines_of(output, b"1\n2\n3\n4\n5\n")
    assert lines == ["[3 lines dropped: they came faster than they were taken]", "4", "5"]
    assert output.dropped == 3


async def test_waiting_lines_are_bounded_in_size_too():
    output = Output(waiting_characters=10)
    assert (await lines_of(output, b"123456\n" * 3))[1:] == ["123456"]
