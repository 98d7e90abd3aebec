"""The worker refuses to start, or to take a partition: status 2, one line that names the thing and the cure."""

import signal
import threading

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    ResourceType,
)

from app.processor import TABLES
from app.stream.topics import changelog_topic
from app.topics import FILLS, OUTPUTS, SIGNALS, SIGNALS_DLQ, SIZED_ORDERS
from tests.integration.cluster import PATIENCE, Deployment, refuse
from tests.integration.traffic import Traffic

SEED = 20260107


class TestRefusals:
    """The worker refuses to start: status 2, one line that names the thing and the cure, no traceback."""

    def admin(self, deployment: Deployment) -> AdminClient:
        return AdminClient({"bootstrap.servers": deployment.settings.bootstrap_servers})

    def set_config(self, deployment: Deployment, topic: str, **config: str) -> None:
        entries = [
            ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for name, value in config.items()
        ]
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
        admin = self.admin(deployment)
        for future in admin.incremental_alter_configs([resource]).values():
            future.result()

    def add_partitions(self, deployment: Deployment, *topics: str) -> None:
        admin = self.admin(deployment)
        for future in admin.create_partitions([NewPartitions(topic, 3) for topic in topics]).values():
            future.result()

    def delete(self, deployment: Deployment, *topics: str) -> None:
        admin = self.admin(deployment)
        for future in admin.delete_topics(list(topics)).values():
            future.result()
        while set(topics) & set(admin.list_topics(timeout=PATIENCE).topics):
            threading.Event().wait(0.05)

    def test_a_topic_is_missing(self, deployment: Deployment) -> None:
        prefix = "nowhere."
        refuse(deployment, f"{prefix}signals", "sizer topics create", SIZER_TOPIC_PREFIX=prefix)

    def test_partition_counts_differ(self, deployment: Deployment) -> None:
        fills = deployment.settings.topic(FILLS)
        self.add_partitions(deployment, fills)
        refuse(deployment, fills, "3 partitions", "same number")

    def test_topic_settings(self, deployment: Deployment) -> None:
        settings = deployment.settings
        orders, ids = changelog_topic(settings, "orders"), changelog_topic(settings, "signal_ids")
        self.set_config(deployment, settings.topic(SIGNALS_DLQ), max_message_bytes="100000")
        refuse(deployment, settings.topic(SIGNALS_DLQ), "max.message.bytes=100000", "would not fit")
        self.set_config(deployment, settings.topic(SIGNALS_DLQ), max_message_bytes="2000000")
        self.set_config(deployment, ids, retention_ms="3600000")
        refuse(deployment, ids, "retention.ms=3600000", "604800000")
        self.set_config(deployment, orders, cleanup_policy="compact,delete")
        refuse(deployment, orders, "cleanup.policy=compact,delete", "set cleanup.policy=compact")
        self.set_config(deployment, settings.topic(SIZED_ORDERS), cleanup_policy="compact")
        refuse(deployment, settings.topic(SIZED_ORDERS), "set cleanup.policy=delete")

    def test_the_next_offset_is_gone(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(50))
        deployment.wait_for_answers(50)
        assert worker.stop() == 0
        deployment.send(Traffic(SEED + 1).signals(50))
        admin = self.admin(deployment)
        gone = [TopicPartition(settings.topic(SIGNALS), partition, -1) for partition in range(2)]
        for future in admin.delete_records(gone).values():
            future.result()
        refuse(deployment, settings.topic(SIGNALS), "records were deleted before they were processed")

    def test_records_are_deleted_under_a_worker(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(50))
        deployment.wait_for_answers(50)
        worker.send(signal.SIGSTOP)
        deployment.read(SIZED_ORDERS)  # takes longer than the worker's last fetch may wait in the broker
        deployment.send(Traffic(SEED + 1).signals(50))
        gone = [TopicPartition(settings.topic(SIGNALS), partition, -1) for partition in range(2)]
        admin = self.admin(deployment)
        for future in admin.delete_records(gone).values():
            future.result()
        worker.send(signal.SIGCONT)
        assert worker.wait() in (2, 70)
        assert "deleted before they were processed" in worker.said
        refuse(deployment, settings.topic(SIGNALS), "records were deleted before they were processed")

    def test_there_are_answers_but_no_state(self, deployment: Deployment) -> None:
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(20))
        deployment.wait_for_answers(20)
        assert worker.stop() == 0
        self.delete(deployment, *(changelog_topic(deployment.settings, table) for table in TABLES))
        deployment.create_topics()
        # Its local rows are those of topics that are no more: they are not taken for state.
        refuse(deployment, deployment.settings.topic(SIZED_ORDERS), "there is no state", "SIZER_APP_ID")

    def test_an_input_topic_was_created_again(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(20))
        deployment.wait_for_answers(20)
        assert worker.stop() == 0
        self.delete(deployment, settings.topic(SIGNALS))
        deployment.create_topics()
        deployment.send(Traffic(SEED + 1).signals(200))  # beyond the position, which would fit
        refuse(deployment, settings.topic(SIGNALS), "was created again", "SIZER_ADOPT_TOPICS")
        deployment.start(SIZER_ADOPT_TOPICS="true").wait_for("ready")

    def test_an_input_topic_is_created_again_under_a_worker(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(200))
        deployment.wait_for_answers(200)
        self.delete(deployment, settings.topic(SIGNALS))
        deployment.create_topics()
        deployment.send(Traffic(SEED + 1).signals(100))
        assert worker.wait() in (2, 70)
        refuse(deployment, settings.topic(SIGNALS), "created again")

    def test_a_changelog_was_created_again(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        for seed in (SEED, SEED + 1):
            deployment.send(Traffic(seed).signals(20))
            deployment.wait_for_answers(20)
        assert worker.stop() == 0
        self.delete(deployment, changelog_topic(settings, "signal_ids"))
        deployment.create_topics()
        refuse(deployment, changelog_topic(settings, "signal_ids"), "ends at offset 0", "was written up to")

    def test_the_changelogs_are_those_of_an_earlier_time(self, deployment: Deployment) -> None:
        settings = deployment.settings
        changelogs = [changelog_topic(settings, table) for table in TABLES]
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(20))
        deployment.wait_for_answers(20)
        assert worker.stop() == 0
        backup = {topic: deployment.read_raw(topic) for topic in changelogs}
        worker = deployment.started()
        deployment.send(Traffic(SEED + 1).signals(20))
        deployment.wait_for_answers(40)
        assert worker.stop() == 0
        self.delete(deployment, *changelogs)
        deployment.create_topics()
        producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
        for topic, logs in backup.items():
            for row in (row for log in logs for row in log):
                producer.produce(topic, row.value(), row.key(), row.partition() or 0)
                producer.produce(topic, row.value(), row.key(), row.partition() or 0)  # as long as with its markers
        assert producer.flush(60) == 0
        refuse(deployment, settings.topic(SIZED_ORDERS), "has an answer to the signal at offset", "answered twice")

    def test_somebody_else_wrote_a_row(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        sent = Traffic(SEED, portfolios=1).signals(1)
        deployment.send(sent)
        deployment.wait_for_answers(1)
        assert worker.stop() == 0
        log = deployment.read_raw(changelog_topic(settings, "portfolios"))
        partition = next(number for number, rows in enumerate(log) if any(row.key() == sent[0].key for row in rows))
        producer = Producer({"bootstrap.servers": settings.bootstrap_servers})
        producer.produce(changelog_topic(settings, "portfolios"), b"\x01[]", sent[0].key, partition)
        assert producer.flush(60) == 0
        deployment.send(
            [Traffic(SEED + 1).signal(portfolio_id=(sent[0].key or b"").decode())._replace(key=sent[0].key)]
        )
        worker = deployment.start()
        assert worker.wait() == 70, worker.said
        assert "none that this program wrote" in worker.said
        assert "Traceback" not in worker.said

    def test_the_number_of_partitions_is_not_the_recorded_one(self, deployment: Deployment) -> None:
        settings = deployment.settings
        worker = deployment.started()
        deployment.send(Traffic(SEED).signals(20))
        deployment.wait_for_answers(20)
        everything = [settings.topic(topic) for topic in (SIGNALS, FILLS, *OUTPUTS)]
        self.add_partitions(deployment, *everything, *(changelog_topic(settings, table) for table in TABLES))
        assert worker.stop() == 0
        refuse(deployment, settings.topic(SIGNALS), "3 partitions", "written with 2")

    def test_the_data_folder_is_in_use(self, deployment: Deployment) -> None:
        worker = deployment.started()
        refuse(deployment, str(deployment.folder / "a"), "in use by another worker")
        assert worker.stop() == 0
