"""A broker with the settings of the compose file, by the project's own Python: `broker.py FOLDER PROPERTIES`.

Prints its bootstrap address when it is ready and runs until standard input ends.
"""

import json
import sys
from pathlib import Path

from app.broker import Broker

with Broker(Path(sys.argv[1]), properties=json.loads(sys.argv[2])) as broker:
    print(broker.bootstrap_servers, flush=True)
    sys.stdin.read()
