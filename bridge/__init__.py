"""Websocket and HTTP gateway, and the web page."""
