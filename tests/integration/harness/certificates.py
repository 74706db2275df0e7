# SPDX-License-Identifier: LGPL-2.1-or-later
"""Certificates for migrations with TLS, made by certtool."""
import subprocess

AUTHORITY = "cn = test authority\nca\ncert_signing_key\nexpiration_days = 2\n"
SERVER = "cn = {host}\ndns_name = {host}\ntls_www_server\nsigning_key\nencryption_key\n"
CLIENT = "cn = test client\ntls_www_client\nsigning_key\nencryption_key\n"
VALID = "expiration_days = 1\n"
EXPIRED = 'activation_date = "2020-01-01 00:00:00"\nexpiration_date = "2020-01-02 00:00:00"\n'


def make(folder, host="localhost", server_dates=VALID):
    """An authority of its own, and what both sides need to be known to each other."""
    folder.mkdir()
    sign(folder, "ca", AUTHORITY, "--generate-self-signed")
    by = ("--generate-certificate", "--load-ca-certificate", folder / "ca-cert.pem",
          "--load-ca-privkey", folder / "ca-key.pem")
    sign(folder, "server", SERVER.format(host=host) + server_dates, *by)
    sign(folder, "client", CLIENT + VALID, *by)
    return folder


def sign(folder, name, template, *how):
    text, key = folder / f"{name}.template", folder / f"{name}-key.pem"
    text.write_text(template)
    certtool("--generate-privkey", "--key-type", "rsa", "--bits", 2048, "--outfile", key)
    certtool(*how, "--load-privkey", key, "--template", text, "--outfile", folder / f"{name}-cert.pem")


def certtool(*arguments):
    subprocess.run(["certtool", *map(str, arguments)], check=True, capture_output=True)
