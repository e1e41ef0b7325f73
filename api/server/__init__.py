"""What applies to every connection and every answer, whatever the route.

Owns limits of a connection, headers, caching and the page's files. Knows nothing of jobs.

Read in this order: `connection.py` (HTTP/1.1 under limits), `middleware.py` (every answer),
`heads.py` (HEAD), `caching.py` (entity tags), `page_files.py` (the page).
"""
