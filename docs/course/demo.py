"""Serve a page that answers a recording with its report: python demo.py [PORT]"""

import sys
from email.parser import BytesParser
from email.policy import HTTP
from html import escape
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import asrscope

LARGEST = 20_000_000  # bytes of an upload
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; form-action 'self'">
<title>tiny</title>
<style>
:root {{ color-scheme: light dark }}
body {{ font: 1.1em/1.6 sans-serif; max-width: 40em; margin: auto; padding: 1em }}
</style>
<h1>What does tiny hear?</h1>
<p>{note}</p>
<form method="post" enctype="multipart/form-data">
<p><label>A recording of a few seconds (WAV, FLAC, OGG or MP3):
<input type="file" name="clip" accept="audio/*" required></label></p>
<p><button>Show the report</button></p>
</form>
</html>"""
WELCOME = "Tiny has heard synthesizers only. Expect little, and look at the stages."

model, processor = asrscope.load("tiny")


class Demo(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, PAGE.format(note=WELCOME))

    def do_POST(self):
        size = int(self.headers.get("Content-Length") or 0)
        if not 0 < size <= LARGEST:
            self.close_connection = True  # what was sent is not read
            note = f"Expected at most {LARGEST:,} bytes, but found {size:,}."
            self.answer(413, PAGE.format(note=note))
            return
        head = f"Content-Type: {self.headers.get('Content-Type')}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(head + self.rfile.read(size))
        clips = [part for part in form.iter_parts() if part.get_filename()]
        if not clips:
            note = "Expected a recording, but found none. Choose a file."
            self.answer(400, PAGE.format(note=note))
            return
        name = Path(clips[0].get_filename()).name
        with TemporaryDirectory() as folder:  # deleted when the answer is ready
            recording, report = Path(folder, name), Path(folder, "report.html")
            recording.write_bytes(clips[0].get_payload(decode=True))
            try:
                trace = asrscope.trace(model, processor, recording, name=name)
                asrscope.write_html(trace, report)
            except (OSError, ValueError) as error:
                note = escape(str(error).replace(str(recording), name))
                self.answer(400, PAGE.format(note=note))
                return
            self.answer(200, report.read_text(encoding="utf-8"))

    def answer(self, status, page):
        content = page.encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


# Only this machine can reach 127.0.0.1. One request at a time: the next one waits.
port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
with HTTPServer(("127.0.0.1", port), Demo) as server:
    address = f"http://127.0.0.1:{server.server_port}"
    print(f"Open {address} in a browser; Ctrl+C ends the program.", flush=True)
    server.serve_forever()
