"""The dashboard: a static site over all runs, built from their summaries.

``packed`` is what is kept of one run, ``archive`` the figures of all runs by series, ``trends``
what the histories amount to, ``views`` what each page shows, ``pages`` their HTML, ``files``
writes what has changed, ``build`` goes through it all.
"""
