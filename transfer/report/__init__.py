"""Rows in, tables out. Imports pandas, never torch."""
