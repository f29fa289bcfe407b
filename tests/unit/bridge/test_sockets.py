from unittest.mock import Mock

from bridge.sockets import SocketProtocol


def test_a_client_that_has_gone_does_not_keep_the_bridge_from_stopping() -> None:
    socket = Mock(handshake_complete=True, close_sent=False, close_timeout=1.0)
    socket.conn.data_to_send.return_value = [b"close"]
    socket.transport.write_eof.side_effect = OSError(107, "Transport endpoint is not connected")
    SocketProtocol.shutdown(socket)
    socket.loop.call_later.assert_called_once_with(1.0, socket.transport.abort)
