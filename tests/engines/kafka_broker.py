"""Apache Kafka, the real one: a broker and controller in one process (KRaft), with SASL, TLS and ACLs.

Clients reach it by SASL over TLS (SCRAM-SHA-512, PLAIN, and OAUTHBEARER with what `msk_tokens` checks) or with a certificate; whatever
is not granted is forbidden (https://kafka.apache.org/41/security/).
"""

from __future__ import annotations

import datetime
import ipaddress
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from helpers.local import jars
from helpers.local.servers.processes import LOOPBACK, free_port

SCRAM_USERS = {"migration": "scram-secret-1", "stranger": "scram-secret-2"}
PLAIN_USERS = {"migration": "plain-secret-1"}
TOKENS = Path(__file__).with_name("MskTokens.java")

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{loopback}:{controller}
controller.listener.names=CONTROLLER
listeners=SASL_SSL://{loopback}:{sasl},SSL://{loopback}:{tls},PLAINTEXT://{loopback}:{plain},CONTROLLER://{loopback}:{controller}
advertised.listeners=SASL_SSL://{loopback}:{sasl},SSL://{loopback}:{tls},PLAINTEXT://{loopback}:{plain}
listener.security.protocol.map=SASL_SSL:SASL_SSL,SSL:SSL,PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={folder}/log
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={folder}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={folder}/ca.pem
listener.name.ssl.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {plain_users};
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class=MskTokens
connections.max.reauth.ms=3600000
"""


@dataclass
class Broker:
    """A broker in a folder of its own; `admin` may do everything."""

    folder: Path
    sasl: int
    tls: int
    plain: int
    controller: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def made(cls, folder: Path) -> Broker:
        """Formats its storage with the users of SCRAM, makes its certificates, and starts it."""
        taken: set[int] = set()
        for _ in range(4):
            taken.add(free_port(taken))
        broker = cls(folder, *taken)
        authority = Authority(folder, "ca")
        authority.issue("broker", "broker.example.com", joined=True)
        authority.issue("migration", "migration")
        Authority(folder, "other-ca")
        plain_users = " ".join(f'user_{name}="{password}"' for name, password in PLAIN_USERS.items())
        text = _PROPERTIES.format(
            loopback=LOOPBACK, folder=folder, sasl=broker.sasl, tls=broker.tls, plain=broker.plain,
            controller=broker.controller, plain_users=plain_users,
        )  # fmt: skip
        (folder / "server.properties").write_text(text)
        (folder / "log4j2.properties").write_text(_LOGGING)
        broker.java("-d", str(folder), str(TOKENS), program="javac")
        scram = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in SCRAM_USERS.items()]
        options = [part for each in scram for part in ("--add-scram", each)]
        broker.java("kafka.tools.StorageTool", "format", "-t", "A" * 22, "-c", "server.properties", *options)
        broker.start()
        return broker

    def command(self, *arguments: str, program: str = "java") -> list[str]:
        found = jars.java() if program == "java" else jars.java().with_name(program)
        path = ":".join(map(str, (self.folder, *jars.class_path("kafka"))))
        memory = ["-Xmx512m", "-XX:TieredStopAtLevel=1"] if program == "java" else []
        return [str(found), "-cp", path, *memory, *arguments]

    def java(self, *arguments: str, program: str = "java") -> None:
        done = subprocess.run(
            self.command(*arguments, program=program), cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def start(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            command = self.command("-Dlog4j2.configurationFile=log4j2.properties", "kafka.Kafka", "server.properties")
            self.process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        end = time.monotonic() + 90
        while True:
            try:
                self.admin.list_topics(timeout=2)
                return
            except KafkaException:
                assert self.process.poll() is None and time.monotonic() < end, self.said()

    def said(self) -> str:
        return (self.folder / "server.log").read_text()[-4000:]

    def kill(self, by: signal.Signals = signal.SIGKILL) -> None:
        assert self.process
        self.process.send_signal(by)
        self.process.wait(60)

    @property
    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": f"{LOOPBACK}:{self.plain}", "log_level": 0})

    def allow(self, user: str, kind: str, name: str, *operations: str) -> None:
        """Grants what `kafka-acls --add` does."""
        literal, allow = ResourcePatternType.LITERAL, AclPermissionType.ALLOW
        acls = [
            AclBinding(
                ResourceType[kind.upper()], name, literal, f"User:{user}", "*", AclOperation[each.upper()], allow
            )
            for each in operations
        ]
        admin = self.admin  # its answers are lost with it
        for future in admin.create_acls(acls).values():
            future.result()

    def settings(self, listener: str = "sasl", **keys: object) -> Mapping[str, object]:
        """What `[profiles.X.kafka]` says of it."""
        common = {
            "bootstrap": f"{LOOPBACK}:{getattr(self, listener)}",
            "ca_file": str(self.folder / "ca.pem"),
            "replicas": 1,
            "partitions": 2,
        }
        return common | keys


_LOGGING = """
rootLogger.level=WARN
rootLogger.appenderRef.stdout.ref=STDOUT
appender.console.type=Console
appender.console.name=STDOUT
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d %p %m (%c)%n
"""


class Authority:
    """An authority of certificates, its own in `NAME.pem`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(self.name, self.key).add_extension(x509.BasicConstraints(True, None), critical=True)
        own = made.sign(self.key, hashes.SHA256())
        (folder / f"{name}.pem").write_bytes(own.public_bytes(serialization.Encoding.PEM))

    def issue(self, file: str, name: str, joined: bool = False) -> None:
        """Writes `FILE.pem` and `FILE.key`, or both into one file, as Kafka reads them."""
        key = ec.generate_private_key(ec.SECP256R1())
        usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address(LOOPBACK))])
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        made = self._builder(subject, key).add_extension(usages, False).add_extension(names, False)
        certificate = made.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        for path, content in ((f"{file}.pem", (secret if joined else b"") + certificate), (f"{file}.key", secret)):
            (self.folder / path).write_bytes(content)
            (self.folder / path).chmod(0o600)

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(key.public_key())
        made = made.serial_number(x509.random_serial_number())
        return made.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
            now + datetime.timedelta(days=90)
        )
