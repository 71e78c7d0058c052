// Sends many requests over HTTP/2, some at once on one connection, and opens a new one when it is told to go: what any good
// client does. Prints how many were answered 200, how many connections it took, and every failure.
import http2 from "node:http2";

const [url, total, atOnce] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])];
let session = null;
let connections = 0;
let asked = 0;
let ok = 0;
const failures = [];

function open() {
  if (session === null || session.closed || session.destroyed) {
    const own = http2.connect(url);
    connections += 1;
    own.on("error", (error) => failures.push(`connection: ${error.message}`));
    own.on("goaway", () => {
      if (session === own) session = null;
      own.close();
    });
    session = own;
  }
  return session;
}

function ask(number) {
  return new Promise((resolve) => {
    const request = open().request({ ":path": `/${number}` });
    let status = 0;
    let problem = null;
    request.on("response", (headers) => { status = headers[":status"]; });
    request.on("error", (error) => { problem = error.message; });
    request.on("close", () => {
      if (status === 0 && request.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM) {
        // Surely not processed (RFC 9113, 8.7): GOAWAY was read, and the event of it not delivered, when this was asked.
        if (session?.closed || session?.destroyed) session = null;
        setTimeout(() => ask(number).then(resolve), 5);
        return;
      }
      if (problem !== null) failures.push(`${number}: ${problem}`);
      if (status === 200 && request.rstCode === 0) ok += 1;
      else failures.push(`${number}: ${status}, ${request.rstCode}`);
      resolve();
    });
    request.resume();
    request.end();
  });
}

async function work() {
  while (asked < total) {
    asked += 1;
    await ask(asked);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

await Promise.all(Array.from({ length: atOnce }, work));
session?.close();
console.log(JSON.stringify({ ok, connections, failures }));
