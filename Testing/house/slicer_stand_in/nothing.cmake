# Slicer's own file does much; the tests need none of it.
