"""Generated parts of Markdown pages: the text between two marks, each of which occurs exactly once in the page."""


def part(page, begin, end):
    """The text between the marks of a page's text."""
    if page.count(begin) != 1 or page.count(end) != 1:
        raise SystemExit(f"the marks {begin.strip()} and {end.strip()} must occur exactly once in the page")
    return page.split(begin)[1].split(end)[0]


def replaced(page, begin, end, text):
    """The page's text with another part."""
    return page.replace(begin + part(page, begin, end) + end, begin + text + end)
