"""gunicorn for the web tier. `GUNICORN_*` change it per machine; the demo runs it with one process."""

import multiprocessing
import os
import sys
from pathlib import Path

import environ

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from foundation.logs import logging_settings  # noqa: E402 - its folder is known only now

# The site's own settings hold for its server, too; what the unit says comes first.
if (ROOT / ".env").exists():
    environ.Env.read_env(ROOT / ".env")

bind = os.environ.get("GUNICORN_BIND", "127.0.0.1:8000")
# Several processes need the shared cache (REDIS_URL): limits kept in local memory would count per process.
workers = int(
    os.environ.get("GUNICORN_WORKERS") or (multiprocessing.cpu_count() if os.environ.get("REDIS_URL") else 1)
)
worker_class = "gthread"
threads = int(os.environ.get("GUNICORN_THREADS", "4"))
timeout = 60
graceful_timeout = 25
keepalive = 5
max_requests = int(os.environ.get("GUNICORN_MAX_REQUESTS", "0"))
max_requests_jitter = max_requests // 10
preload_app = False  # a pool of database connections must not be shared by a fork
control_socket_disable = True  # it would be written to $HOME, which a hardened unit may not write
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108 - heartbeat files off the disk
errorlog = "-"
# gunicorn's own lines look like the site's.
logconfig_dict = logging_settings(
    format=os.environ.get("LOG_FORMAT")
    or ("line" if os.environ.get("ENVIRONMENT", "development") in ("development", "test") else "json"),
    level=os.environ.get("LOG_LEVEL") or "INFO",
)
forwarded_allow_ips = os.environ.get("GUNICORN_FORWARDED_ALLOW_IPS", "127.0.0.1")


def child_exit(server, worker):
    """Tell the metrics that a worker is gone, so that it is not counted as alive."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        from prometheus_client import multiprocess

        multiprocess.mark_process_dead(worker.pid)
