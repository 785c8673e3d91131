"""Rows in, tables out. Imports no package at all, so never torch."""
