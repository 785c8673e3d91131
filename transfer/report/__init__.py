"""Rows in, tables out. Writing rows imports no package, reading them pandas and pandera, nothing torch."""
