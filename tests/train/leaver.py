"""One of two launched processes, of which the second leaves at once: executed with its arguments as globals.

`rank`, `port`: its place in the group. The first one exits with 7 where it is told so as a user would be.
"""

import os

from luthier.errors import TrainingError
from luthier.train import launched_group

os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}  # noqa: F821
try:
    with launched_group() as group:
        if not group.first:
            os._exit(3)
        group.wait()
except TrainingError as error:
    os._exit(7 if "another process" in error.what else 1)
