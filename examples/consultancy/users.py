"""Who there is: `python users.py` lists everybody, `python users.py holm` some.

Their uuids are what the parameter `userUuid` takes. They are the same in each database that the
jobs have filled, so no database is needed.
"""

import sys

from consultancy.generate import users

wanted = " ".join(sys.argv[1:]).lower()
for uuid, name in users():
    if wanted in name.lower():
        print(uuid, name)
