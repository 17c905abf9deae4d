"""A look into the MongoDB-wire server without mongosh: prints an expression, or is a Python shell.

  scripts/stack mongo 'client.list_database_names()'
  scripts/stack mongo 'list(db.posts.find().limit(2))'
"""

import code
import os
import sys

from bson import json_util
from pymongo import MongoClient

client = MongoClient(os.environ["MONGODB_URL"], serverSelectionTimeoutMS=5000)
db = client["posts"]

if len(sys.argv) > 1:
    # An operator types this at their own prompt.
    found = eval(sys.argv[1], {"client": client, "db": db})
    print(json_util.dumps(found, indent=2, ensure_ascii=False))
else:
    code.interact("`client` is the server, `db` the database `posts`", local={"client": client, "db": db})
