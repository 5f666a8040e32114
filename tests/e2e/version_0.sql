-- The database of a data directory that version 0 left.
CREATE TABLE archives (
    id TEXT PRIMARY KEY, key TEXT NOT NULL, family TEXT NOT NULL, state TEXT NOT NULL, layout INTEGER NOT NULL,
    plan TEXT NOT NULL, results TEXT, comment TEXT, created REAL NOT NULL, settled REAL, used REAL NOT NULL
);
INSERT INTO "archives" VALUES('7893f28b59784c96a62956e0c43004d4','d8151bdeafd9a2b29af5657fba63690e','9dac78c7443ab3b8bf40720956aa0f0b','complete',1,'{"order_id":"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001","order_name":"12 Harbour Lane","rendering":{"format":"jpeg","quality":null,"preview":true,"dev_mode":false,"max_width":null,"scale":null},"images":[{"image_id":"a","name":"a.jpg","state":"ready","key":"63273e40011f9ca12a1c886afae4d634","modified":"2026-03-02T09:15:04Z","is_bought":false},{"image_id":"b","name":"b.jpg","state":"ready","key":"dd7446a0a44c88f2506b56f27965e78d","modified":"2026-03-02T09:15:04Z","is_bought":false},{"image_id":"c","name":"c.jpg","state":"ready","key":"1affe952b9d8c4ed210db1933740fdd6","modified":"2026-03-02T09:15:04Z","is_bought":false}],"key":"d8151bdeafd9a2b29af5657fba63690e","family":"9dac78c7443ab3b8bf40720956aa0f0b","subset":[],"wait":false,"wait_timeout":0.0}','[{"image_id": "a", "original_name": "a.jpg", "name": "a.jpg", "bytes": 2000, "crc": 2455278489, "code": null, "attempts": 0}, {"image_id": "b", "original_name": "b.jpg", "name": "b.jpg", "bytes": 3000, "crc": 2266993560, "code": null, "attempts": 1}, {"image_id": "c", "original_name": "c.jpg", "name": "c.jpg", "bytes": 2000, "crc": 1748612329, "code": null, "attempts": 1}]','Autoenhance order 0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001: 3 of 3 images',1795870703.551,1795870703.558,1795870703.558);
INSERT INTO "archives" VALUES('ad9189dc903d4a1ba8674cb24d4db2cd','f679118afc173c9505fb2a6cb336761e','0ee7676d541895a0d236e72125641ed2','complete',1,'{"order_id":"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001","order_name":"12 Harbour Lane","rendering":{"format":"jpeg","quality":null,"preview":false,"dev_mode":false,"max_width":null,"scale":null},"images":[{"image_id":"a","name":"a.jpg","state":"ready","key":"e2963d9a56961c9c9e542b22423e089b","modified":"2026-03-02T09:15:04Z","is_bought":false},{"image_id":"b","name":"b.jpg","state":"ready","key":"6fff739a35d7ea1206ee9f80050ba214","modified":"2026-03-02T09:15:04Z","is_bought":false},{"image_id":"c","name":"c.jpg","state":"ready","key":"095f662a5604a9f7a1beae7efbe2a23a","modified":"2026-03-02T09:15:04Z","is_bought":false}],"key":"f679118afc173c9505fb2a6cb336761e","family":"0ee7676d541895a0d236e72125641ed2","subset":[],"wait":false,"wait_timeout":0.0}','[{"image_id": "a", "original_name": "a.jpg", "name": "a.jpg", "bytes": 2000, "crc": 2455278489, "code": null, "attempts": 1}, {"image_id": "b", "original_name": "b.jpg", "name": "b.jpg", "bytes": 3000, "crc": 2266993560, "code": null, "attempts": 1}, {"image_id": "c", "original_name": "c.jpg", "name": "c.jpg", "bytes": 2000, "crc": 1748612329, "code": null, "attempts": 1}]','Autoenhance order 0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001: 3 of 3 images',1795870703.561,1795870703.568,1795870703.568);
INSERT INTO "archives" VALUES('4a640ab72c9a4b1fbcc8b343652945a9','dcda09b3dabc81d629805093f4b5905a','c297c990396e69e63d7a3deba9ffb653','partial',1,'{"order_id":"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002","order_name":"12 Harbour Lane","rendering":{"format":"jpeg","quality":null,"preview":true,"dev_mode":false,"max_width":null,"scale":null},"images":[{"image_id":"d","name":"d.jpg","state":"ready","key":"9571a624f45616a0d70901912426a840","modified":"2026-03-02T09:15:04Z","is_bought":false},{"image_id":"f","name":"f.jpg","state":"ready","key":"033a4a79a8c2e4cf114917ded78b41cc","modified":"2026-03-02T09:15:04Z","is_bought":false}],"key":"dcda09b3dabc81d629805093f4b5905a","family":"c297c990396e69e63d7a3deba9ffb653","subset":["d","f"],"wait":false,"wait_timeout":0.0}','[{"image_id": "d", "original_name": "d.jpg", "name": "d.jpg", "bytes": 2000, "crc": 1456146407, "code": null, "attempts": 1}, {"image_id": "f", "original_name": "f.jpg", "name": null, "bytes": 0, "crc": null, "code": "image_not_found", "attempts": 1}]','Autoenhance order 0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002: 1 of 2 images',1795870703.57,1795870703.577,1795870703.577);
INSERT INTO "archives" VALUES('834bd2bab0624efcabc17d59475637bc','082eb623aefdedc16e4beacf260a2dbb','69810a80880192902f0df208035a45a9','complete',1,'{"order_id":"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002","order_name":"12 Harbour Lane","rendering":{"format":"jpeg","quality":null,"preview":true,"dev_mode":false,"max_width":null,"scale":null},"images":[{"image_id":"d","name":"d.jpg","state":"ready","key":"9571a624f45616a0d70901912426a840","modified":"2026-03-02T09:15:04Z","is_bought":false}],"key":"082eb623aefdedc16e4beacf260a2dbb","family":"69810a80880192902f0df208035a45a9","subset":["d"],"wait":false,"wait_timeout":0.0}','[{"image_id": "d", "original_name": "d.jpg", "name": "d.jpg", "bytes": 2000, "crc": 1456146407, "code": null, "attempts": 0}]','Autoenhance order 0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002: 1 of 1 images',1795870703.583,1795870703.584,1795870703.584);
INSERT INTO "archives" VALUES('b720a44b0cbb4b9884ab3660efe72d88','fa76fa31adf5658c8a3b9bcee9e78c91','40e9ef5d6d4a5cdb75aa1df0eef1dfeb','building',1,'{"order_id":"0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be002","order_name":"12 Harbour Lane","rendering":{"format":"jpeg","quality":null,"preview":true,"dev_mode":false,"max_width":null,"scale":null},"images":[{"image_id":"d","name":"d.jpg","state":"ready","key":"9571a624f45616a0d70901912426a840","modified":"2026-03-02T09:15:04Z","is_bought":false},{"image_id":"e","name":"e.jpg","state":"ready","key":"f219c86cf3541347803d79a56dc9666a","modified":"2026-03-02T09:15:04Z","is_bought":false}],"key":"fa76fa31adf5658c8a3b9bcee9e78c91","family":"40e9ef5d6d4a5cdb75aa1df0eef1dfeb","subset":["d","e"],"wait":false,"wait_timeout":0.0}',NULL,NULL,1795870703.636,NULL,1795870703.636);
CREATE TABLE blobs (
    digest TEXT PRIMARY KEY, size INTEGER NOT NULL, crc INTEGER NOT NULL, extension TEXT NOT NULL,
    mtime_ns INTEGER NOT NULL, boot TEXT NOT NULL, used REAL NOT NULL
);
INSERT INTO "blobs" VALUES('e9935933c7f4bc63bf2ff375dda308ac',2000,2455278489,'jpg',1795870703564137904,'2e4fbd6c-d7da-468a-905d-2d03a0ac513a',1795870703.565);
INSERT INTO "blobs" VALUES('d9fca74215cdac0eff1f6bd5f58a07d1',3000,2266993560,'jpg',1795870703564137904,'2e4fbd6c-d7da-468a-905d-2d03a0ac513a',1795870703.566);
INSERT INTO "blobs" VALUES('cbadb338e7eb58c9c39d3494637903e1',2000,1748612329,'jpg',1795870703564137904,'2e4fbd6c-d7da-468a-905d-2d03a0ac513a',1795870703.566);
INSERT INTO "blobs" VALUES('836b72c2afbe8033f31fec3f681156a2',2000,1456146407,'jpg',1795870703568642062,'2e4fbd6c-d7da-468a-905d-2d03a0ac513a',1795870703.636);
INSERT INTO "blobs" VALUES('0f8b76844983228961ffc63ff6bf2d30',389,3031208172,'txt',1795870703572642063,'2e4fbd6c-d7da-468a-905d-2d03a0ac513a',1795870703.576);
CREATE TABLE generations (
    image_id TEXT PRIMARY KEY, finished INTEGER NOT NULL, generation INTEGER NOT NULL
);
INSERT INTO "generations" VALUES('a',1,0);
INSERT INTO "generations" VALUES('b',1,0);
INSERT INTO "generations" VALUES('c',1,1);
INSERT INTO "generations" VALUES('d',1,0);
INSERT INTO "generations" VALUES('e',1,0);
INSERT INTO "generations" VALUES('f',1,0);
CREATE TABLE images (
    key TEXT PRIMARY KEY, digest TEXT NOT NULL REFERENCES blobs ON DELETE CASCADE
);
INSERT INTO "images" VALUES('63273e40011f9ca12a1c886afae4d634','e9935933c7f4bc63bf2ff375dda308ac');
INSERT INTO "images" VALUES('dd7446a0a44c88f2506b56f27965e78d','d9fca74215cdac0eff1f6bd5f58a07d1');
INSERT INTO "images" VALUES('1affe952b9d8c4ed210db1933740fdd6','cbadb338e7eb58c9c39d3494637903e1');
INSERT INTO "images" VALUES('e2963d9a56961c9c9e542b22423e089b','e9935933c7f4bc63bf2ff375dda308ac');
INSERT INTO "images" VALUES('6fff739a35d7ea1206ee9f80050ba214','d9fca74215cdac0eff1f6bd5f58a07d1');
INSERT INTO "images" VALUES('095f662a5604a9f7a1beae7efbe2a23a','cbadb338e7eb58c9c39d3494637903e1');
INSERT INTO "images" VALUES('9571a624f45616a0d70901912426a840','836b72c2afbe8033f31fec3f681156a2');
CREATE TABLE kept (
    archive_id TEXT PRIMARY KEY REFERENCES archives ON DELETE CASCADE, until REAL NOT NULL
);
INSERT INTO "kept" VALUES('834bd2bab0624efcabc17d59475637bc',1795874303.584);
CREATE TABLE members (
    archive_id TEXT NOT NULL REFERENCES archives ON DELETE CASCADE, position INTEGER NOT NULL,
    image_id TEXT, name TEXT NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, crc INTEGER NOT NULL,
    extension TEXT NOT NULL, modified TEXT NOT NULL, attempts INTEGER NOT NULL,
    PRIMARY KEY (archive_id, position)
) WITHOUT ROWID;
INSERT INTO "members" VALUES('4a640ab72c9a4b1fbcc8b343652945a9',0,'d','d.jpg','836b72c2afbe8033f31fec3f681156a2',2000,1456146407,'jpg','2026-03-02T09:15:04+00:00',1);
INSERT INTO "members" VALUES('4a640ab72c9a4b1fbcc8b343652945a9',1,NULL,'_download_report.txt','0f8b76844983228961ffc63ff6bf2d30',389,3031208172,'txt','2026-03-02T09:15:04+00:00',0);
INSERT INTO "members" VALUES('7893f28b59784c96a62956e0c43004d4',0,'a','a.jpg','e9935933c7f4bc63bf2ff375dda308ac',2000,2455278489,'jpg','2026-03-02T09:15:04+00:00',0);
INSERT INTO "members" VALUES('7893f28b59784c96a62956e0c43004d4',1,'b','b.jpg','d9fca74215cdac0eff1f6bd5f58a07d1',3000,2266993560,'jpg','2026-03-02T09:15:04+00:00',1);
INSERT INTO "members" VALUES('7893f28b59784c96a62956e0c43004d4',2,'c','c.jpg','cbadb338e7eb58c9c39d3494637903e1',2000,1748612329,'jpg','2026-03-02T09:15:04+00:00',1);
INSERT INTO "members" VALUES('834bd2bab0624efcabc17d59475637bc',0,'d','d.jpg','836b72c2afbe8033f31fec3f681156a2',2000,1456146407,'jpg','2026-03-02T09:15:04+00:00',0);
INSERT INTO "members" VALUES('ad9189dc903d4a1ba8674cb24d4db2cd',0,'a','a.jpg','e9935933c7f4bc63bf2ff375dda308ac',2000,2455278489,'jpg','2026-03-02T09:15:04+00:00',1);
INSERT INTO "members" VALUES('ad9189dc903d4a1ba8674cb24d4db2cd',1,'b','b.jpg','d9fca74215cdac0eff1f6bd5f58a07d1',3000,2266993560,'jpg','2026-03-02T09:15:04+00:00',1);
INSERT INTO "members" VALUES('ad9189dc903d4a1ba8674cb24d4db2cd',2,'c','c.jpg','cbadb338e7eb58c9c39d3494637903e1',2000,1748612329,'jpg','2026-03-02T09:15:04+00:00',1);
INSERT INTO "members" VALUES('b720a44b0cbb4b9884ab3660efe72d88',0,'d','d.jpg','836b72c2afbe8033f31fec3f681156a2',2000,1456146407,'jpg','2026-03-02T09:15:04+00:00',0);
CREATE INDEX images_by_digest ON images (digest);
CREATE INDEX archives_by_key ON archives (key, state);
CREATE INDEX archives_by_family ON archives (family, state);
CREATE INDEX members_by_digest ON members (digest);
