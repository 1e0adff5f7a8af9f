"""Checks sealed evidence offline, and shares no code with what writes it but the rules that both must have in common.

It needs the standard library and `cryptography`; `make checker` builds it into one file, `verify-evidence.pyz`.
"""
