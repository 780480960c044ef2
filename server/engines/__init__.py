"""Engines that answer questions about pictures, behind one small protocol."""
