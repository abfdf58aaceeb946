"""The dashboard: a static site over all runs, built from their summaries.

``sources`` finds runs and ``run_data`` packs the summary of one; ``archive`` holds the figures of
all runs by series; ``trends`` finds levels and changes in their histories; ``views`` is what pages
show, and ``pages`` which pages there are; ``files`` writes those that have changed; ``build`` runs
all of it.
"""
