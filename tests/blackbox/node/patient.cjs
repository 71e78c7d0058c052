// Preloaded into a server that others wrote: it keeps idle connections for longer than any test, so that no request meets one that
// it is just closing.
const http = require("node:http");
const { listen } = http.Server.prototype;

http.Server.prototype.listen = function (...args) {
  this.keepAliveTimeout = 600_000;
  return listen.apply(this, args);
};
