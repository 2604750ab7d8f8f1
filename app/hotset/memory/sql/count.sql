-- memories: how many fit, counted no further than it takes to choose between a scan and the index.
SELECT count(*) AS n FROM (SELECT 1 FROM memories m WHERE /*fits*/ LIMIT %(most)s) AS few
