"""The gRPC channel of a Spark Connect session, whose calls carry a header that is made anew for each.

In a module of its own, which is imported where a session begins: gRPC and the client take a quarter of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from pyspark.sql.connect.client.core import DefaultChannelBuilder

from helpers.platforms.databricks_login import SESSION, THIS_MACHINE, Login


class Channel(DefaultChannelBuilder):
    """Where the session's calls go, and with what.

    Args:
        url: `sc://host:port`, without parameters.
        options: of gRPC.
        compute: headers that name the cluster or the serverless session.
        login: makes the header `authorization`; with it the channel is TLS, or never leaves this machine, and only then is anything
            secret sent.
    """

    def __init__(
        self, url: str, options: list[tuple[str, int]], compute: Mapping[str, str], login: Login | None
    ) -> None:
        super().__init__(url, options)
        self._login = login
        self._here = self._host == THIS_MACHINE and not compute  # a workspace speaks TLS, wherever it is
        for name, value in compute.items():
            self.set(name, value)
        if SESSION in compute:
            self.set(self.PARAM_SESSION_ID, compute[SESSION])

    def toChannel(self) -> Any:  # noqa: N802 - the client's name
        """The channel; gRPC asks for the header before each call, so that one that has expired is never sent."""
        if self._login is None:
            return super().toChannel()
        login = self._login

        def header(context: object, callback: Callable[[Any, Exception | None], None]) -> None:
            """https://grpc.github.io/grpc/python/grpc.html#grpc.AuthMetadataPlugin"""
            try:
                callback((("authorization", login.header()),), None)
            except Exception as error:  # gRPC tells the call, whose error says it
                callback((), error)

        calls = grpc.metadata_call_credentials(header)
        wire = grpc.local_channel_credentials() if self._here else grpc.ssl_channel_credentials()
        return self._secure_channel(self.endpoint, grpc.composite_channel_credentials(wire, calls))
