#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process that holds a data directory and answers at its control socket as told.

fake_daemon.py ROOT MODE [LOG]

MODE  busy     layers are listed, everything else is 503
      error    changes answer 500 with a text that is not JSON
      garbage  changes answer 200 with bytes that are not JSON
      stall    segment jobs run for ever, until they are deleted
      fail     segment jobs fail
      vanish   the connection is closed without an answer

LOG gets one line "METHOD PATH BODY" per request. The program prints "ready" and goes on
until it is killed.
"""
import fcntl
import http.server
import json
import os
import socketserver
import sys

root, mode = sys.argv[1:3]
log = open(sys.argv[3], 'a') if len(sys.argv) > 3 else None
job = {'id': 7, 'state': 'running', 'all': 5, 'done': 2, 'skipped': 1, 'failed': 0,
       'fraction': 0.6, 'seconds': 1.5, 'error': ''}


class Handler(http.server.BaseHTTPRequestHandler):
    def address_string(self):
        return 'unix'

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header('Content-Length', str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        n = int(self.headers.get('Content-Length', 0))
        body = self.rfile.read(n).decode()
        if log:
            print(self.command, self.path, body, file=log, flush=True)
        if self.command == 'GET' and self.path == '/api/layers':
            self.reply(200, [])
        elif mode == 'busy':
            self.reply(503, {'error': 'the queue is full'})
        elif mode == 'error':
            self.reply(500, b'it hurts\nhere\n')
        elif mode == 'garbage':
            self.reply(200, b'{"id": ')
        elif mode == 'vanish':
            self.close_connection = True
        elif self.command == 'POST':
            self.reply(202, {'id': 7})
        elif self.command == 'DELETE':
            job['state'] = 'cancelled'
            self.reply(200, {'ok': True})
        else:
            if mode == 'fail':
                job.update(state='failed', error='block 1,2,3: the device is on fire')
            self.reply(200, job)

    do_GET = do_POST = do_DELETE = handle_any


class Listener(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


lock = open(os.path.join(root, 'lock'), 'a')
fcntl.flock(lock, fcntl.LOCK_EX)
path = os.path.join(root, 'control.sock')
if os.path.exists(path):
    os.unlink(path)
# A socket's name holds 107 bytes: bind it from inside.
os.chdir(root)
server = Listener('control.sock', Handler)
print('ready', flush=True)
server.serve_forever()
