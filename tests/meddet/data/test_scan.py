from meddet.data.scan import one_line


def test_a_librarys_words_become_one_line_without_quotes_or_traceback() -> None:
    said = "With tag (0002,0013) got\n'DOE^JOHN' in\nTraceback (most recent call last):\n  File 'a.py', line 1"
    assert one_line(ValueError(said)) == "With tag (0002,0013) got ... in"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line(ValueError("long " * 200))) <= 200
